#!/bin/bash
# Moves all servers off this compute, then closes it for new ones: USER PROJECT PASSWORD URL.
#
# It is never closed while a server is on it: what Nova lists is counted, an answer that cannot be had is no empty list,
# and it is counted again once it is closed, as a server may have been sent here at that moment.
set -eu -o pipefail

compute=$(cat /etc/hostname)
export OS_USERNAME=$1 OS_TENANT_NAME=$2 OS_PASSWORD=$3 OS_AUTH_URL=$4
rounds=11   # of moving what is there
patience=20 # seconds for one server to be elsewhere

servers() { # ids of the servers that are here; fails where Nova does not say, or says something else than a table of them
  local listed rows ids
  listed=$(nova hypervisor-servers "$compute") || return 1
  ids=$(grep -Eio '^\| *[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12} *\|' <<< "$listed" | tr -d '| ') || ids=
  rows=$(grep -c '^|' <<< "$listed") || rows=1
  [ $((rows - 1)) -eq "$(wc -w <<< "$ids")" ] || return 1
  echo "$ids"
}

moved() { # whether a server is elsewhere, and active
  local here shown
  here=$(servers) || return 1
  grep -qx "$1" <<< "$here" && return 1
  shown=$(nova show "$1") || return 1
  grep -Eq '^\| *status *\| *ACTIVE *\|' <<< "$shown"
}

how=--block-migrate
if grep -Eqs '^[[:space:]]*images_type[[:space:]]*=[[:space:]]*rbd' /etc/nova/nova.conf; then
  how=
fi

for ((round = 1; round <= rounds; round++)); do
  here=$(servers) || { echo "Nova does not say which servers are on $compute: it stays open" >&2; exit 1; }
  if [ -z "$here" ]; then
    nova service-disable --reason upgrade "$compute" nova-compute
    here=$(servers) && [ -z "$here" ] && { echo "no server is on $compute; it is closed"; exit 0; }
    nova service-enable "$compute" nova-compute # somebody came, or nobody knows: open again, and once more
    continue
  fi
  for server in $here; do
    echo "moving server $server"
    nova live-migration $how "$server"
    for ((second = 0; second < patience; second++)); do
      moved "$server" && break
      sleep 1
    done
    if ((second == patience)); then
      echo "server $server is not elsewhere and active after $patience s (round $round of $rounds)" >&2
    fi
  done
done
echo "after $rounds rounds there are still servers on $compute: it stays open" >&2
exit 1
