#!/bin/sh
# Makes the secrets of the local overlay with random passwords. Arguments go to kubectl (--dry-run=client -o yaml: to look).
set -eu
password() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
make() {
  name="$1"
  shift
  kubectl --namespace sightline create secret generic "$name" "$@"
}
prometheus="$(password)"
make postgres "--from-literal=superuser=$(password)" "--from-literal=mlflow=$(password)" \
  "--from-literal=prefect=$(password)" "$@"
echo ---
make objects "--from-literal=access-key=$(password)" "--from-literal=secret-key=$(password)" "$@"
echo ---
make serving-tokens "--from-literal=prometheus=$prometheus" "--from-literal=tokens=$(password)
$prometheus
" "$@"
