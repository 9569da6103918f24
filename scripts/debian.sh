# Sourced: a private view of the Debian archive for packages that this machine's own apt cannot see (sources,
# another release). The mirror is the one this machine's apt is configured with; everything apt writes goes to
# a directory of ours, so the machine's package lists, sources and installed packages stay as they are.
# Signatures are checked against Debian's archive keys. Proxies and credentials of apt.conf.d and auth.conf.d
# apply. Works without root.
#
#   debian_view DIR SUITE TYPE   makes the view in DIR and fetches its lists; TYPE is `deb` or `deb-src`
#   debian_apt DIR ARGS...       apt-get in that view
#   debian_cache DIR ARGS...     apt-cache in that view
#   debian_program NAME SUITE PACKAGE FILE MB ARGS...   prints the path of a package's program, brought once a machine, unpacked into
#                                the cache beside the system; it has to start with ARGS

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The base address of the mirror from which this machine takes Debian's main component (not the security archive).
debian_mirror() {
  apt-get indextargets --no-release-info --format '$(COMPONENT) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "main" && $2 !~ /-security|-updates|\/updates/ { print $3; exit }'
}

debian_options() {
  local dir=$1
  printf '%s\n' \
    -o "Dir::Etc::sourcelist=$dir/debian.sources" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
    -o "Dir::State::status=$dir/status" -o "Dir::State::lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o Acquire::Languages=none \
    -o APT::Sandbox::User= -o Acquire::Retries=3 -o APT::Update::Post-Invoke-Success= -o APT::Update::Error-Mode=any
}

debian_view() {
  local dir=$1 suite=$2 type=$3 mirror
  [ -r "$debian_keyring" ] || fail "Debian's archive keys are missing: install the package debian-archive-keyring"
  mirror=$(debian_mirror)
  [ -n "$mirror" ] || fail "apt on this machine has no Debian mirror: add one to /etc/apt/sources.list.d"
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  : >"$dir/status" # no package counts as installed: what the machine has says nothing about the other release
  printf 'Types: %s\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
    "$type" "$mirror" "$suite" "$debian_keyring" >"$dir/debian.sources"
  quietly "fetching the package lists of Debian $suite" debian_apt "$dir" update
}

debian_apt() {
  local options
  mapfile -t options < <(debian_options "$1")
  shift
  apt-get "${options[@]}" "$@"
}

debian_cache() {
  local options
  mapfile -t options < <(debian_options "$1")
  shift
  apt-cache "${options[@]}" "$@"
}

debian_program() {
  local name=$1 suite=$2 package=$3 file=$4 size=$5 prefix
  prefix=$MUSTER_CACHE/$name-$(printf '%s\n' "$@" | sha256sum | cut -c1-12)
  if [ ! -x "$prefix/$file" ]; then
    ./packages.sh debian-archive-keyring >&2
    take_lock "$name"
  fi
  if [ ! -x "$prefix/$file" ]; then
    rm -rf "$MUSTER_CACHE/$name"-fetch.* # of a fetch that was killed; ours is the lock
    work=$(mktemp -d "$MUSTER_CACHE/$name-fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "fetching $name from Debian $suite ($size MB, a few seconds, once)"
    debian_view "$work/apt" "$suite" deb
    mkdir "$work/debs" "$work/new"
    fetch() (cd "$work/debs" && debian_apt "$work/apt" download "$package")
    quietly "fetching the package $package" fetch
    for deb in "$work"/debs/*.deb; do dpkg-deb --extract "$deb" "$work/new"; done
    "$work/new/$file" "${@:6}" >/dev/null || fail "the $name of Debian $suite does not start on this machine"
    mv -T "$work/new" "$prefix"
  fi
  echo "$prefix/$file"
}
