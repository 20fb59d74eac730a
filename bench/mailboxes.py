#!/usr/bin/python3
"""Copies of one of Dovecot's mailboxes for many users, where its own configuration
(tests/dovecot.py) looks for them: to deliver a message to each of 100,000 takes it
minutes, and to write down what it made of one takes seconds.

    mailboxes.py FOLDER DOMAIN COUNT    FOLDER/XX/user0@DOMAIN is there

Run as root, it becomes the owner of the mailbox that is copied."""
import os
import pathlib
import sys


def bucket(user):
    """Dovecot's %2.256H of a name: the hash of ELF's symbol tables."""
    value = 0
    for octet in user.encode():
        value = (value << 4) + octet
        high = value & 0xf0000000
        value = (value ^ high >> 24) ^ high if high else value
    return f"{value % 256:02x}"


def main(folder, domain, count):
    users = [f"user{number}@{domain}" for number in range(int(count))]
    first = pathlib.Path(folder, bucket(users[0]), users[0])
    owner = first.stat()  # fails where Dovecot would look elsewhere
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
    paths = [path.relative_to(first) for path in sorted(first.rglob("*"))]
    folders = [str(path) for path in paths if (first / path).is_dir()]
    files = [(str(path), (first / path).read_bytes()) for path in paths
             if not (first / path).is_dir()]
    os.umask(0o077)
    for name in {bucket(user) for user in users}:
        pathlib.Path(folder, name).mkdir(exist_ok=True)
    for user in users[1:]:
        own = os.path.join(folder, bucket(user), user)
        for name in ("", *folders):
            os.mkdir(os.path.join(own, name))
        for name, octets in files:
            with open(os.path.join(own, name), "xb", 0) as file:
                file.write(octets)


if __name__ == "__main__":
    main(*sys.argv[1:])
