"""Runs on the host, by its own python3, over SSH: puts the runner into an environment of its own.

Sent as text, so it stands alone, and its syntax is that of Python 3.6: a host that is too old is told so in words.
Each release of the runner gets a directory of its own, ``<prefix>-releases/<name>``; ``<prefix>`` is a link that is
turned when the new one has answered. A pass at work goes on in the old one, which stays until the time after next.
"""

# ruff: noqa
# mypy: ignore-errors
# Python 3.6 has neither annotations of this kind nor the newer calls.

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

LEAST = (3, 9)


class CannotInstallError(Exception):
    """Why the runner cannot be put here; nothing that was there before has been changed."""


def say(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def main(line):
    try:
        request = json.loads(line)
        check_python()
        install(request)
    except CannotInstallError as error:
        say(kind="refused", text=str(error))
    except OSError as error:
        say(kind="refused", text="%s: %s" % (error.filename or "the host", error.strerror or error))


def check_python():
    found = "%d.%d" % sys.version_info[:2]
    if sys.version_info[:2] < LEAST:
        raise CannotInstallError(
            "%s is Python %s, the runner needs 3.9 or newer (install one and name it: --with-python)"
            % (sys.executable, found)
        )
    for name in ("venv", "ensurepip"):
        try:
            __import__(name)
        except ImportError:
            raise CannotInstallError(
                "Python %s has no module %s (Debian and Ubuntu: apt-get install python%s-venv)" % (found, name, found)
            )


def install(request):
    prefix = request["prefix"]
    releases = prefix + "-releases"
    place = os.path.join(releases, request["name"])
    if os.path.realpath(prefix) == os.path.realpath(place) and answers(prefix, request):
        say(kind="installed", text="was there already", changed=False)
        return
    os.makedirs(releases, exist_ok=True)
    if not answers(place, request):
        shutil.rmtree(place, ignore_errors=True)
        try:
            build(place, request)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    turn(prefix, place)
    if not answers(prefix, request):
        raise CannotInstallError("%s/bin/python does not answer as the runner %s" % (prefix, request["version"]))
    forget_old(releases, place)
    say(kind="installed", text="%s -> %s" % (prefix, place), changed=True)


def build(place, request):
    say(kind="step", text="making an environment in " + place)
    call([sys.executable, "-m", "venv", place], "python3 -m venv")
    python = os.path.join(place, "bin", "python")
    carried = tempfile.mkdtemp(prefix="underway-wheels-")
    try:
        for name, data in request["wheels"].items():
            with open(os.path.join(carried, os.path.basename(name)), "wb") as file:
                file.write(base64.b64decode(data))
        wheel = os.path.join(carried, request["wheel"])
        pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        source = "the host's own index"
        if request["offline"]:
            pip += ["--no-index", "--find-links", carried]
            source = "the wheels that were carried over"
        say(kind="step", text="installing %s from %s" % (", ".join(request["requirements"]), source))
        call(pip + request["requirements"], "pip")
        call(pip + ["--no-deps", wheel], "pip")
        if request["dependencies"]:
            call([python, "-m", "pip", "check"], "pip check")
    finally:
        shutil.rmtree(carried, ignore_errors=True)


def call(command, name):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines
        raise CannotInstallError("%s: %s" % (name, " / ".join(errors[-2:])[:600] or "status %d" % done.returncode))


def answers(prefix, request):
    """Whether the runner in an environment is the one that was asked for."""
    python = os.path.join(prefix, "bin", "python")
    code = "import underway_runner, os; print(underway_runner.__version__)"
    if request["dependencies"]:
        code += "; import ansible"
    try:
        done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.decode().strip() == request["version"]


def turn(prefix, place):
    """Turn the link; an environment that was made by hand is moved aside first."""
    if os.path.isdir(prefix) and not os.path.islink(prefix):
        aside = "%s.before-%d" % (prefix, int(time.time()))
        os.rename(prefix, aside)
        say(kind="step", text="%s was a directory: moved to %s" % (prefix, aside))
    temporary = "%s.new-%d" % (prefix, os.getpid())
    os.symlink(place, temporary)
    os.rename(temporary, prefix)


def forget_old(releases, place):
    """Keep this one and the newest of the others: a pass may be at work in it."""
    others = [os.path.join(releases, name) for name in os.listdir(releases)]
    others = [path for path in others if path != place]
    for path in sorted(others, key=os.path.getmtime)[:-1]:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main(sys.stdin.readline())
