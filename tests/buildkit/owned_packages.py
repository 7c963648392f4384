"""Packages whose files belong to several users, and whose scriptlets give files away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import run, which

_COMMON = """\
Name:           {name}
Version:        1
Release:        1
Summary:        A test
License:        Apache-2.0
BuildArch:      noarch
Requires:       busybox
Requires(pre):  busybox
Requires(post): busybox
AutoReqProv:    no

%description
A test.
"""

# Where a name is all that a test is about, the file is named so.
OWNED = (
    _COMMON.format(name="owned")
    + """
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/srv/packaged/dir
cd %{buildroot}/srv/packaged
echo 1 > file
echo 1 > group-only
echo 1 > back-to-root
echo 1 > to-another
echo 1 > replaced
echo 1 > ghost
ln -s file link
echo 1 > %{buildroot}/usr/bin/set-gid
echo 1 > %{buildroot}/usr/bin/capable

%pre
echo worker:x:300: >> /etc/group
echo worker:x:300:300::/:/bin/sh >> /etc/passwd

%post
cd /srv
set -e
mkdir made made/dir
echo 1 > made/file
ln -s file made/link
ln made/file made/hard
mkfifo made/fifo
chown -R worker:worker made
mkfifo pipe; chown 305:306 pipe
echo 1 > one; chown 301 one
echo 1 > group; chown :302 group
echo 1 > both; chown 301:302 both; chown 303:304 both
echo 1 > by-link; ln -s by-link to-it; chown 304 to-it
echo 1 > absolute; ln -s /srv/absolute to-absolute; chown 305 to-absolute
ln -s none dangling; chown -h 306:307 dangling
echo 1 > above; (cd made/dir; chown 308 ../../above)
echo 1 > rooted; (cd made/dir; chown 309 ../../../../../srv/rooted)
echo 1 > renamed.tmp; chown 310 renamed.tmp; mv renamed.tmp renamed
echo 1 > gone; chown 311 gone; rm gone; echo 1 > gone
echo 1 > set-id; chmod 6755 set-id; chown 312 set-id
echo 1 > set-id-after; chown 313 set-id-after; chmod 6755 set-id-after
echo 1 > large; chown 70000:4000000000 large
mkdir sticky; chmod 1777 sticky; chown 314:315 sticky; echo 1 > sticky/in
(sleep 0.1; echo 1 > late; chown 316 late) > /dev/null 2>&1 &
wait
mkdir set-gid; chown root:worker set-gid; chmod 2775 set-gid
echo 1 > set-gid/new; mkdir set-gid/dir; echo 1 > set-gid/dir/new; ln -s new set-gid/link
echo 1 > set-gid/root; chown root:root set-gid/root
chown root:root packaged/back-to-root
chown 317:318 packaged/to-another
# As who edits a file does: a new one, with the owner that was seen on the old one.
cp -p packaged/replaced packaged/new; mv packaged/new packaged/replaced
for n in $(seq 100); do (echo 1 > many-$n; chown $((1000 + n)) many-$n) & done; wait
set +e
{
    chown 5 none; chown 5 one/none; chown 5 ''; chown -h 5 dangling/none
    ln -s loop loop; chown 5 loop; chown 5 /sys/kernel
} 2> said
echo $? >> said
rm loop

%files
%attr(0755,root,worker) %dir /srv/packaged
%attr(0750,worker,worker) %dir /srv/packaged/dir
%attr(0640,worker,worker) /srv/packaged/file
%attr(0640,root,worker) /srv/packaged/group-only
%attr(-,worker,worker) /srv/packaged/back-to-root
%attr(-,worker,worker) /srv/packaged/to-another
%attr(-,worker,root) /srv/packaged/replaced
%attr(-,worker,worker) %ghost /srv/packaged/ghost
%attr(-,worker,worker) /srv/packaged/link
%attr(2755,root,worker) /usr/bin/set-gid
%attr(0755,root,root) %caps(cap_net_raw=ep) /usr/bin/capable
"""
)

# For a second layer: it edits what the first one has, and leaves other files alone.
MORE = (
    _COMMON.format(name="more")
    + """
Requires:       owned
Requires(pre):  owned

%install
mkdir -p %{buildroot}/srv/packaged
echo 2 > %{buildroot}/srv/packaged/more

%pre
echo other:x:400: >> /etc/group
echo other:x:400:400::/:/bin/sh >> /etc/passwd

%post
cd /srv
echo 2 >> made/file
echo 2 >> packaged/file
chmod 600 one pipe
echo 2 > set-gid/newer; echo 2 >> set-gid/root; echo 2 > set-gid/dir/newer
touch -h packaged/link
chown other:worker packaged/group-only
chown root:root both
chown -h other:worker made/link
touch -h dangling
echo 2 > made/dir/new
cp -p packaged/replaced packaged/new; mv packaged/new packaged/replaced

%files
%attr(0640,other,worker) /srv/packaged/more
"""
)

SLOW = (
    _COMMON.format(name="slow")
    + """
%post
i=0
while :; do chown $((i % 5000 + 1)) /srv; i=$((i + 1)); done

%files
"""
)

HIDING = (
    _COMMON.format(name="hiding")
    + """
%post
echo 1 > /srv/seen
ln -s /proc/1/root/srv/seen /srv/by-proc
chown 5 /srv/by-proc

%files
"""
)

PLAIN = (
    _COMMON.format(name="plain")
    + """
%pre
echo worker:x:300: >> /etc/group
echo worker:x:300:300::/:/bin/sh >> /etc/passwd

%install
mkdir -p %{buildroot}/srv
echo 1 > %{buildroot}/srv/plain
ln -s plain %{buildroot}/srv/link

%files
%attr(0640,worker,worker) /srv/plain
%attr(-,worker,worker) /srv/link
"""
)

SPECS = {"owned": OWNED, "more": MORE, "slow": SLOW, "hiding": HIDING, "plain": PLAIN}
_MACROS = {
    "debug_package": "%{nil}",
    "__os_install_post": "%{nil}",
    "_build_id_links": "none",
    "_binary_payload": "w6.gzdio",
    "_buildhost": "localhost",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "build_mtime_policy": "clamp_to_source_date_epoch",
}


def make_repository(path: Path) -> None:
    """Make a repository of these packages, unsigned; skips where there are no tools for it."""
    for name in ("rpmbuild", "createrepo_c"):
        if not which(name):
            pytest.skip(f"{name} is not installed")
    (path / "specs").mkdir(parents=True)
    given = {**_MACROS, "_topdir": path / "top", "_rpmdir": path / "repo", "_dbpath": path / "db"}
    macros = [word for k, v in given.items() for word in ("--define", f"{k} {v}")]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(path), "LC_ALL": "C"}
    env["SOURCE_DATE_EPOCH"] = "1735689600"
    for name, text in SPECS.items():
        spec = path / "specs" / f"{name}.spec"
        spec.write_text(text)
        made = run(["rpmbuild", "-bb", *macros, spec], env=env)
        assert made.status == 0, made.stderr
    made = run(["createrepo_c", "--no-database", path / "repo"], env=env)
    assert made.status == 0, made.stderr
