#!/bin/sh
# Makes the secrets of the local overlay with random passwords. Arguments go to kubectl (--dry-run=client -o yaml: to look).
set -eu
umask 077
folder="$(mktemp -d)" # kubectl reads them from files: lists of processes show arguments
trap 'rm -rf "$folder"' EXIT
for key in superuser mlflow prefect access-key secret-key prometheus client; do
  head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/$key"
done
for key in client prometheus; do
  cat "$folder/$key"
  echo
done >"$folder/tokens"
make() {
  kubectl --namespace sightline create secret generic "$@"
}
make postgres --from-file="$folder/superuser" --from-file="$folder/mlflow" --from-file="$folder/prefect" "$@"
echo ---
make objects --from-file="$folder/access-key" --from-file="$folder/secret-key" "$@"
echo ---
make serving-tokens --from-file="$folder/prometheus" --from-file="$folder/tokens" "$@"
