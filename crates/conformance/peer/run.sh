#!/usr/bin/env bash
# Runs a command against a real control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler on
# loopback, with KUBECONFIG set, and nothing kept. No node: nothing runs pods. Ends what it started.
#
#     ./run.sh FOLDER COMMAND...       the folder of install.sh
#     ./run.sh FOLDER cargo xtask conform
#
# STATE names an empty folder for kubeconfig and logs, which stays; without it there is one that goes with the command.
set -euo pipefail
umask 077
folder=$(cd "${1:?the folder of install.sh}" && pwd)
shift
[ $# -gt 0 ] || { echo "nothing to run: see the first lines of $0" >&2; exit 2; }
[ -x "$folder/bin/kube-apiserver" ] || { echo "$folder has no kube-apiserver: run install.sh first" >&2; exit 2; }
state=${STATE:-$(mktemp -d "$folder/state.XXXXXX")}
mkdir -p "$state"
state=$(cd "$state" && pwd)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
  wait "${pids[@]}" 2> /dev/null || true
  if [ -z "${STATE:-}" ]; then rm -rf "$state"; fi
}
trap stop EXIT
trap 'exit 130' INT TERM
free() {
  python3 -c 'import socket
all = [socket.socket() for _ in range(3)]
for one in all: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in all))'
}
begin() { "$folder/bin/$1" "${@:2}" > "$state/$1.log" 2>&1 & pids+=($!); }
read -r clients peers port < <(free)
token=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
echo "$token,tester,tester,system:masters" > "$state/tokens.csv"
chmod 600 "$state/tokens.csv"
openssl genrsa -out "$state/account.key" 2048 2> /dev/null
begin etcd --data-dir "$state/etcd" --listen-client-urls "http://127.0.0.1:$clients" \
  --advertise-client-urls "http://127.0.0.1:$clients" --listen-peer-urls "http://127.0.0.1:$peers" \
  --initial-advertise-peer-urls "http://127.0.0.1:$peers" --initial-cluster "default=http://127.0.0.1:$peers"
begin kube-apiserver --etcd-servers "http://127.0.0.1:$clients" --bind-address 127.0.0.1 --secure-port "$port" \
  --cert-dir "$state" --token-auth-file "$state/tokens.csv" --authorization-mode RBAC --allow-privileged \
  --service-cluster-ip-range 10.96.0.0/16 --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file "$state/account.key" --service-account-signing-key-file "$state/account.key"
export KUBECONFIG=$state/kubeconfig
for _ in $(seq 1200); do
  kill -0 "${pids[1]}" 2> /dev/null || { tail -5 "$state/kube-apiserver.log" >&2; exit 2; }
  if [ -s "$state/apiserver.crt" ]; then
    printf '%s\n' '{"apiVersion": "v1", "kind": "Config", "current-context": "peer",' \
      "\"clusters\": [{\"name\": \"peer\", \"cluster\": {\"server\": \"https://127.0.0.1:$port\"," \
      "\"certificate-authority\": \"$state/apiserver.crt\"}}]," \
      "\"users\": [{\"name\": \"tester\", \"user\": {\"token\": \"$token\"}}]," \
      '"contexts": [{"name": "peer", "context": {"cluster": "peer", "user": "tester"}}]}' > "$KUBECONFIG.new"
    mv "$KUBECONFIG.new" "$KUBECONFIG"
    if curl -sf --cacert "$state/apiserver.crt" -H "Authorization: Bearer $token" \
      "https://127.0.0.1:$port/readyz" > /dev/null; then ready=1; break; fi
  fi
  sleep 0.1
done
[ "${ready:-0}" = 1 ] || { echo "kube-apiserver is not ready after two minutes" >&2; tail -5 "$state/kube-apiserver.log" >&2; exit 2; }
begin kube-controller-manager --kubeconfig "$KUBECONFIG" --leader-elect=false --secure-port 0 \
  --root-ca-file "$state/apiserver.crt" --service-account-private-key-file "$state/account.key"
begin kube-scheduler --kubeconfig "$KUBECONFIG" --leader-elect=false --secure-port 0
# In the background: a shell that waits for a command in the foreground hears no signal.
"$@" <&0 &
command=$!
pids+=("$command")
wait "$command"
