#!/bin/sh
# Runs a command with every file of /run/secrets as a variable of its name: no image and no
# `docker inspect` then holds a secret.
set -eu
for file in /run/secrets/*; do
    [ -f "$file" ] || continue
    export "$(basename "$file")=$(cat "$file")"
done
exec "$@"
