#!/bin/bash
# Opens this compute for new servers: USER PROJECT PASSWORD URL.
set -eu
export OS_USERNAME=$1 OS_TENANT_NAME=$2 OS_PASSWORD=$3 OS_AUTH_URL=$4
nova service-enable "$(cat /etc/hostname)" nova-compute
