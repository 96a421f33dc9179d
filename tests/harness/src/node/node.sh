# PID 1 of the node: containerd, the images, the kubelet. If one of the two ends, so does the node.
# $1 directory of the node, $2 containerd, $3 kubelet, $4 kubeconfig, $5 name, $6 address
dir=$1 containerd=$2 kubelet=$3 kubeconfig=$4 name=$5 address=$6

# Kernel parameters that a kubelet sets, and that hold for the whole machine: it finds files that say what it wants.
stand_in() {
    printf '%s\n' "$2" >"$dir/$(basename "$1")"
    mount --bind "$dir/$(basename "$1")" "/proc/sys/$1"
}
stand_in vm/overcommit_memory 1
stand_in vm/panic_on_oom 0
stand_in kernel/panic 10
stand_in kernel/panic_on_oops 1
stand_in kernel/keys/root_maxkeys 1000000
stand_in kernel/keys/root_maxbytes 25000000

"$containerd" --config "$dir/containerd.toml" >"$dir/containerd.log" 2>&1 &
started=$!
until ctr version >/dev/null 2>&1; do
    kill -0 "$started"
    sleep 0.05
done
for image in "$dir"/images/*; do
    ctr --namespace k8s.io images import "$image" >>"$dir/images.log"
done
# In the foreground: the shell meanwhile waits for the children of others, as PID 1 has to.
"$kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$kubeconfig" --root-dir="$dir/kubelet" \
    --cert-dir="$dir/kubelet/pki" --hostname-override="$name" --node-ip="$address"
