#!/bin/sh
# Generates the secrets of compose.yaml that do not exist yet.
set -eu
umask 077
mkdir -p "$(dirname "$0")/secrets"
cd "$(dirname "$0")/secrets"
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -e "$1" ] || printf '%s' "$2" > "$1"; }
keep PREFECT_API_AUTH_STRING "admin:$(random)"
keep PREFECT_SERVER_DATABASE_PASSWORD "$(random)"
keep STORAGE_ROOT_PASSWORD "$(random)"
keep AWS_ACCESS_KEY_ID relevo
keep AWS_SECRET_ACCESS_KEY "$(random)"
