#!/bin/sh
# ssh's server for Horovod's launcher, as the pod's own user and without a right of its own. It ends the sessions, and with
# them the workers, of a launcher that is not heard of any more.
set -eu
folder="$(mktemp -d)"
ssh-keygen -q -t ed25519 -N '' -f "$folder/host_key"
sshd="$(PATH="$PATH:/usr/sbin" command -v sshd)" # it starts itself anew by its whole path
exec "$sshd" -D -e -f /dev/null -h "$folder/host_key" -p "${SIGHTLINE_SSH_PORT:-2222}" \
  -o PidFile=none -o UsePAM=no -o PasswordAuthentication=no -o StrictModes=no \
  -o ClientAliveInterval=5 -o ClientAliveCountMax=3 \
  -o 'ForceCommand=exec setpriv --pdeathsig KILL sh -c "$SSH_ORIGINAL_COMMAND"' \
  -o "AuthorizedKeysFile=$(dirname "$SIGHTLINE_SSH_KEY")/authorized_keys"
