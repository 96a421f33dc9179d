# Kills the processes of a control plane whose owner is gone. $1 is the directory with one `<pid> <start time>` a file.
# The owner holds the other end of our stdin and never writes: it ends when the owner does, however that happens.
cat >/dev/null
for file in "$1"/*; do
    read -r pid started <"$file" || continue
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
    # Fields of proc_pid_stat(5) from the third on; the command in the second may contain blanks. The start time is the 22nd.
    set -- "$1" ${stat##*) }
    [ "${21}" = "$started" ] && kill -KILL "$pid"
done
