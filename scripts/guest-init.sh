#!/bin/busybox sh
# The first process of a virtual machine of scripts/guest.sh: file systems, the hierarchies of control groups that the kernel's
# command line asks for, the network; then a shell for the commands that come over the virtual console, as long as there are any.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
# What is pivoted away from has to be a mount with a parent, which the first file system is not.
mount --bind / /.root
for each in proc sys dev; do mount --move /$each /.root/$each; done
cd /.root
mount --move . /
exec chroot . sh -c '
mkdir /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
for each in /dev/shm /tmp /run; do mount -t tmpfs -o mode=1777 tmpfs $each; done
cgroup=/sys/fs/cgroup
if grep -q muster.cgroups=v2 /proc/cmdline; then mount -t cgroup2 cgroup2 $cgroup; else
  mount -t tmpfs cgroup $cgroup
  for name in $(sed "/^#/d; s/\t.*//" /proc/cgroups); do
    mkdir $cgroup/$name
    mount -t cgroup -o $name $name $cgroup/$name 2>/dev/null || rmdir $cgroup/$name
  done
fi
for each in failover net_failover virtio_net; do insmod /modules/$each.ko; done
hostname guest
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
# From a pipe, since a shell on a terminal talks. What is written before the console is open is lost: so it says that it is.
{ stty raw -echo; echo ready >&2; exec dd bs=4096 2>/dev/null; } </dev/hvc0 2>/dev/hvc0 | sh >/dev/hvc0 2>&1 &
shell=$!
# Whoever is left without a parent comes to this process, which collects all its children.
while kill -0 $shell 2>/dev/null; do wait -n; done
poweroff -f
'
