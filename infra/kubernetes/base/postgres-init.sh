#!/bin/sh
# Runs once, when the database is made: a role and a database each for MLflow and Prefect. A shell of its own, because the
# image reads this into its entrypoint's, where our settings have no business.
(
  set -eu
  passwords="${POSTGRES_PASSWORDS:-/run/secrets/postgres}"
  for name in mlflow prefect; do
    # psql reads the password itself: lists of processes show arguments.
    FILE="$passwords/$name" psql --username postgres --set ON_ERROR_STOP=1 --set name="$name" <<'SQL'
\set password `cat "$FILE"`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
  done
)
