#!/usr/bin/env python3
"""Writes dist/rewardc-VERSION-py3-none-manylinux_X_Y_ARCH.whl from an installation of this project.

usage: wheel.py VERSION INSTALLED DIST      (from `make wheel`; INSTALLED is what make install made, and is changed)

The package rewardc holds the program, libreward.so, the Parquet plugin with Arrow, and each shared library that these
need and that is not part of glibc, under a name of its own so that no other copy in the process takes its place. The
platform tag is the newest glibc that any of them asks for. Needs patchelf, strip, readelf and ldd.
"""
import base64, hashlib, os, platform, re, shutil, subprocess, sys, zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
GLIBC = re.compile(r"^(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv)|libgcc_s)\.so\.\d+$")  # glibc depends on libgcc_s
PROGRAM = '''"""The program `reward`: hands the process over to it."""
import os, sys


def main():
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "reward")
    os.execv(program, ["reward", *sys.argv[1:]])
'''


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def needed(elf):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", elf))


def found(elf):
    """Where the loader finds each library that elf needs."""
    return dict(re.findall(r"^\s*(\S+) => (/\S+) ", run("ldd", elf), re.M))


def vendor(package):
    """Copies what the package's files need into lib/, and makes all of them find each other there."""
    ours = [package / "bin/reward", *(package / "lib").rglob("*.so*")]
    names, todo = {}, list(ours)
    while todo:
        elf = todo.pop()
        places = found(elf)
        for name in needed(elf):
            if GLIBC.match(name) or name in names or any(o.name == name for o in ours):
                continue
            source = Path(places[name]).resolve()
            stem, _, rest = name.partition(".so")
            own = package / "lib" / f"{stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.so{rest}"
            shutil.copy(source, own)
            names[name] = own
            todo.append(source)
    for elf in [*ours, *names.values()]:
        os.chmod(elf, 0o755)
        run("strip", "--strip-unneeded", elf)
        lib = os.path.relpath(package / "lib", elf.parent)
        run("patchelf", "--set-rpath", "$ORIGIN" + ("" if lib == "." else f":$ORIGIN/{lib}"), elf)
        if elf in names.values():
            run("patchelf", "--set-soname", elf.name, elf)
        for name in set(needed(elf)) & names.keys():  # one change a call: patchelf 0.14 loses some of several
            run("patchelf", "--replace-needed", name, names[name].name, elf)
    return [*ours, *names.values()]


def glibc(elfs):
    versions = [v for elf in elfs for v in re.findall(r"\bGLIBC_2\.(\d+)", run("readelf", "-V", elf))]
    return max(map(int, versions))


def digest(data):
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def main(version, installed, dist):
    package = Path(installed)
    for extra in ("include", "share", "lib/pkgconfig", "lib/libreward.a", "lib/libreward.so"):
        path = package / extra
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    library = package / "lib/libreward.so.0"  # one file in place of the links
    real = library.resolve()
    library.unlink()
    real.rename(library)
    elfs = vendor(package)
    tag = f"py3-none-manylinux_2_{glibc(elfs)}_{platform.machine()}"
    files = {f"rewardc/{p.relative_to(package)}": p.read_bytes() for p in package.rglob("*") if p.is_file()}
    files |= {f"rewardc/{p.name}": p.read_bytes() for p in (HERE / "rewardc").glob("*.py")}
    files["rewardc/_program.py"] = PROGRAM.encode()
    info = f"rewardc-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: rewardc\nVersion: {version}\nRequires-Python: >=3.8\nLicense: MIT\n"
        "Summary: Reward models: curate, train, score, evaluate\n"
    ).encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: reward.c\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nreward = rewardc._program:main\n"
    files[f"{info}/LICENSE"] = (HERE.parent.parent / "LICENSE").read_bytes()
    record = [f"{name},{digest(data)},{len(data)}" for name, data in sorted(files.items())] + [f"{info}/RECORD,,"]
    files[f"{info}/RECORD"] = ("\n".join(record) + "\n").encode()
    Path(dist).mkdir(exist_ok=True)
    wheel = Path(dist) / f"rewardc-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in sorted(files.items()):  # no time and no user: the same bytes from the same files
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if name.startswith(("rewardc/bin/", "rewardc/lib/")) else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(entry, data)
    print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB, unpacked {sum(map(len, files.values())) / 1e6:.1f} MB")


main(*sys.argv[1:])
