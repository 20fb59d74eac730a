"""What tests/record_disk.c has recorded, and the disk as it was behind each call: with
what was not yet durable dropped, cut off or torn. A file is durable as it was when its
last fdatasync began, a name when its folder is synced; until then names go in their
order."""
import random
import struct

HEAD = struct.Struct("<cQQQI")
SECTOR = 512
DROP, CUT, TEAR, KEEP = "dropped", "cut", "torn", "kept"


def read(path):
    """[(kind, number, number, octets)]"""
    data, at, calls = path.read_bytes(), 0, []
    while at < len(data):
        kind, a, b, _, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        calls.append((kind.decode(), a, b, data[at:at + length]))
        at += length
    return calls


def folder_of(path):
    return path.rpartition("/")[0]


class File:
    def __init__(self):
        self.durable, self.pending = bytearray(), []


def write(content, at, octets):
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at:at + len(octets)] = octets


def change(content, what, part=None):
    kind, at, octets, _ = what
    if kind == "W":
        write(content, at, octets[:part])
    elif len(content) > at:
        del content[at:]
    else:
        content.extend(bytes(at - len(content)))


class Disk:
    """`lies`: kinds of calls that do nothing, for a checker that must notice."""

    def __init__(self, lies=""):
        self.lies = lies
        self.now, self.durable = {}, {}  # path: File, or None for a folder
        self.pending = []  # changes of names: (folder, path, File; False: gone)
        self.calls = 0

    def _name(self, path, file):
        self.pending.append((folder_of(path), path, file))
        if file is False:
            self.now.pop(path, None)
        else:
            self.now[path] = file

    def do(self, call, files):
        kind, a, b, octets = call
        self.calls += 1
        if kind in self.lies:
            return
        if kind in "WT":
            files[a].pending.append((kind, b, octets, self.calls))
        elif kind == "S":  # b: how many calls there were when it began
            for what in files[a].pending:
                if what[3] <= b:
                    change(files[a].durable, what)
            files[a].pending = [what for what in files[a].pending if what[3] > b]
        elif kind == "F":
            self._sync_folder(octets.rstrip(b"\0").decode())
        else:
            path, _, more = octets.decode().partition("\0")
            if kind == "C":
                files[a] = File()
                self._name(path, files[a])
            elif kind == "M":
                self._name(path, None)
            elif kind == "U":
                self._name(path, False)
            else:
                file = self.now[path]
                if kind == "R":
                    self._name(path, False)
                self._name(more, file)

    def _sync_folder(self, folder):
        for entry in self.pending:
            if entry[0] == folder:
                self._settle(entry)
        self.pending = [entry for entry in self.pending if entry[0] != folder]

    def _settle(self, entry, names=None):
        names = self.durable if names is None else names
        if entry[2] is False:
            names.pop(entry[1], None)
        else:
            names[entry[1]] = entry[2]

    def _content(self, file, loss, chance, is_log):
        content = bytearray(file.durable)
        for what in file.pending if loss != DROP else []:
            if loss == KEEP or chance.random() < 0.5:
                change(content, what)
            elif what[0] == "W" and (loss == CUT or is_log):
                change(content, what, chance.randrange(len(what[2]) + 1))
                break
            elif what[0] == "W":
                for at in range(0, len(what[2]), SECTOR):
                    if chance.random() < 0.5:
                        write(content, what[1] + at, what[2][at:at + SECTOR])
        return content

    def image(self, folder, loss, seed):
        """Makes the disk, as the next start finds it, in a new folder."""
        chance, names = random.Random(seed), dict(self.durable)
        for entry in self.pending if loss != DROP else []:
            if loss != KEEP and chance.random() < 0.3:
                break
            self._settle(entry, names)
        folder.mkdir()
        for path, file in sorted(names.items()):
            if folder_of(path) and names.get(folder_of(path), False) is not None:
                continue  # its folder is not there
            if file is None:
                (folder / path).mkdir()
            else:
                content = self._content(file, loss, chance, path.endswith(".seg"))
                (folder / path).write_bytes(content)
