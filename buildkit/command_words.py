"""The words of `pybuild`'s command line: its help, and what each option takes."""

from __future__ import annotations

from runtime.options import OptionTable

HELP = """\
usage: pybuild [OPTIONS] [CONTEXT]
       pybuild shell [--at LINE] [OPTIONS] [CONTEXT]   look around before a line, or at the end
       pybuild verify-reproducible [OPTIONS] [CONTEXT]   build twice, and compare
       pybuild lock [OPTIONS] [CONTEXT]   write down which packages BOOTSTRAP leads to
       pybuild bake [OPTIONS] [TARGET...]   many images at once: pybuild bake --help
       pybuild images|inspect|history|tag|rmi ...   images with a name: pybuild images --help
       pybuild pull|push|login|logout ...   images of registries: pybuild pull --help
       pybuild doctor [--format text|json]   what this machine allows, and what is missing
       pybuild sbom [OPTIONS] IMAGE   what is installed in an image: pybuild sbom --help
       pybuild load|save|convert ...   images from and to archives: pybuild load --help
       pybuild du|prune|reset|verify-store|cache ...   look after the store: pybuild du --help

Build an image from a Containerfile. CONTEXT (default: .) is the directory that COPY
takes files from. Without -o and -t the image is written to image.tar.

  -f, --file FILE            the Containerfile (default: CONTEXT/Containerfile or
                             CONTEXT/Dockerfile; - is standard input)
  -o, --output FILE|-|type=oci|docker|tar|local|rootfs,dest=PATH[,compression=HOW]
                             write the image archive to FILE, standard output, or an
                             archive of one kind, or the root filesystem (may be repeated)
  -t, --tag NAME[:TAG]       name the image in the store (may be repeated)
      --platform OS/ARCH[/VARIANT][,...]
                             what the image is for (default: this machine); for several
                             it is an index of images. Programs of others than this
                             machine's need an emulator in binfmt_misc
      --target STAGE         build only up to a stage, by name or number
      --compression none|gzip|zstd[:LEVEL]
                             of layers (default: none)
      --squash, --squash-all one layer of all that was built; of the base image too
      --label NAME=VALUE, --annotation NAME=VALUE
                             of the image's configuration; of its manifest
      --format oci|docker    media types (default: oci)
      --timestamp SECONDS    the latest time of anything in the image (default:
                             SOURCE_DATE_EPOCH, a build argument or else your variable;
                             else that of the newest input)
      --build-arg NAME[=VALUE]
                             value of an ARG; without =VALUE the caller's variable
      --build-context NAME=DIR|ARCHIVE|docker-image://NAME|oci-layout://DIR[:TAG]
                             what else a name after FROM, --from or from= stands for
      --pull always|missing|never|newer
                             when base images are asked for at their registries (default:
                             missing; alone it means always)
      --push                 push the image to the registries of its names, its layers
                             compressed by gzip unless --compression says how
      --load                 nothing: names are in the store anyway
      --no-cache             do every step anew
      --no-cache-filter STAGE[,STAGE...]
                             do the steps of these stages anew
      --cache-from NAME|type=registry,ref=NAME|type=local,src=DIR[,tag=TAG]
                             where else results of steps may be
      --cache-to NAME|type=registry,ref=NAME|type=local,dest=DIR[,tag=TAG]|type=inline
                             [,mode=min|max][,compression=zstd|gzip|uncompressed]
                             write results of steps there (max: with all their layers)
      --explain              say of each step that is done why it was not cached
      --locked               the lock file must be there and name all packages
      --no-lock              install what the repositories have, whatever the lock file says
      --lockfile FILE        (default: pybuild.lock beside the Containerfile, NAME.lock if
                             that has a NAME of its own)
      --update NAME[,NAME...]
                             of pybuild lock: look for other versions of these packages
                             alone (may be repeated)
      --vendor DIR           of pybuild lock: keep the packages there, for builds that
                             find them nowhere else
      --arch ARCH            of pybuild lock: another name for --platform linux/ARCH
      --secret id=NAME[,src=FILE|,env=VARIABLE]
                             what RUN --mount=type=secret shows
      --ssh NAME[=SOCKET|KEY[,KEY...]]
                             what RUN --mount=type=ssh leads to (default: your agent)
      --allow security.insecure
                             let a RUN have that (network.host, which BuildKit asks for,
                             is allowed anyway)
      --network default|none|host
                             of RUN steps that do not say (default: this machine's)
      --add-host NAME:IP, --volume SRC:DEST[:ro], --shm-size SIZE,
      --ulimit NAME=SOFT[:HARD], --memory SIZE, --cpus NUMBER
                             for all RUN steps
      --isolation auto|namespaces|chroot
                             how steps are kept apart from this machine (default:
                             $PYBUILD_ISOLATION, auto: in namespaces if it lets us)
      --progress auto|plain|tty|rawjson|quiet
                             (default: $BUILDKIT_PROGRESS, auto: tty on a terminal)
      --on-fail shell        open a shell in the root of a RUN that fails
      --jobs N               do at most N steps of independent stages at once (default:
                             as many as there are processors; 0: no limit)
      --sbom spdx|cyclonedx[,dest=FILE]
                             write what is installed in the image (SPDX 2.3, CycloneDX
                             1.6) beside it, to OUTPUT.spdx.json or OUTPUT.cdx.json
                             (may be repeated)
      --attest type=provenance[,mode=min|max][,builder-id=URI]|type=sbom
                             attach to the image where it comes from (SLSA v1; max: also
                             the Containerfile and values of --build-arg), or what is
                             installed in it; the output is an index then
      --provenance true|false|mode=min|mode=max, --sbom true|false
                             short forms of these
      --iidfile FILE         write the image's id (digest of its configuration)
      --digest-file FILE     write the digest of its manifest, or of its index
      --report junit=FILE    write how each step went, as CI systems show test results
      --metadata-file FILE   write digests and descriptor as JSON, under buildx's keys
      --check                look for mistakes; build nothing
      --call check|outline|targets|ast|sexpr
                             show one view of the Containerfile; build nothing
      --call expand WORD [NAME=VALUE...]
                             show what a word means; reads no file
      --format text|json|sarif|github|codeclimate
                             of --check (outline and targets: text or json)
      --error-format text|json
                             of errors in the Containerfile, on standard error
  -q, --quiet                print only the image's digest
      --root DIR             the store (default: $PYBUILD_ROOT, /var/lib/pybuild)
      --help, --version

Exit status: 0 built; 1 a step failed; 2 the command line or the Containerfile is wrong;
3 --check found something, or "# check=error=true" makes what it found an error;
4 a repository could not be reached; 5 the store or the output could not be written;
6 this machine lacks something; 125 pybuild itself failed; 128+N stopped by signal N.
"""

TABLE = OptionTable(
    "pybuild",
    values={
        "-f": "file",
        "--file": "file",
        "--compression": "compression",
        "--timestamp": "timestamp",
        "--metadata-file": "metadata_file",
        "--target": "target",
        "--iidfile": "iidfile",
        "--pull": "pull",
        "--report": "report",
        "--digest-file": "digest_file",
        "--jobs": "jobs",
        "--progress": "progress",
        "--at": "at",
        "--on-fail": "on_fail",
        "--network": "network",
        "--shm-size": "shm_size",
        "-m": "memory",
        "--memory": "memory",
        "--cpus": "cpus",
        "--call": "call",
        "--format": "format",
        "--error-format": "error_format",
        "--isolation": "isolation",
        "--root": "root",
        "--lockfile": "lockfile",
        "--vendor": "vendor",
        "--provenance": "provenance",
    },
    lists={
        "-o": "outputs",
        "--output": "outputs",
        "--label": "labels",
        "--annotation": "annotations",
        "--platform": "platforms",
        "-t": "tags",
        "--tag": "tags",
        "--build-arg": "build_args",
        "--build-context": "build_contexts",
        "--no-cache-filter": "no_cache_filter",
        "--cache-from": "cache_from",
        "--cache-to": "cache_to",
        "--secret": "secrets",
        "--ssh": "ssh",
        "--allow": "allow",
        "--add-host": "add_hosts",
        "-v": "volumes",
        "--volume": "volumes",
        "--ulimit": "ulimits",
        "--sbom": "sboms",
        "--attest": "attests",
        "--update": "updates",
        "--arch": "architectures",
    },
    flags={
        "--no-cache": "no_cache",
        "--load": "load",
        "--push": "push",
        "--explain": "explain",
        "--locked": "locked",
        "--no-lock": "no_lock",
        "--squash": "squash",
        "--squash-all": "squash_all",
        "--check": "check",
        "-q": "quiet",
        "--quiet": "quiet",
        "--help": "help",
        "--version": "version",
    },
)
