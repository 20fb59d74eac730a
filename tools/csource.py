"""Reads C source as tokens and finds the functions in it: just enough of the
language for the checks that run on each build (tools/tidy, tools/check_layers).

A preprocessor directive is one token with all its continuation lines; what it
holds can be read with `tokens()` again. Nothing is expanded."""
import re
from collections import namedtuple

Token = namedtuple("Token", "kind text line")
Function = namedtuple("Function", "name line end_line parameters is_static nesting")

# The order matters: what begins like something longer stands behind it.
_LEXER = re.compile(r"""
    (?P<directive>^[ \t]*\#(?:[^\\\n"'/]|\\(?:\r?\n|.)|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'
                   |/\*.*?\*/|/(?![/*]))*)
  | (?P<comment>/\*.*?\*/|//[^\n]*)
  | (?P<string>(?:u8|[uUL])?"(?:[^"\\\n]|\\.)*")
  | (?P<character>[uUL]?'(?:[^'\\\n]|\\.)*')
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\.?\d(?:[eEpP][+-]|[\w.'])*)
  | (?P<mark>->|\+\+|--|<<=|>>=|<<|>>|[<>=!]=|&&|\|\||[-+*/%&|^]=|\.\.\.|\S)
  | (?P<space>\s+)
""", re.VERBOSE | re.DOTALL | re.MULTILINE)

CONTROL = {"if", "for", "while", "switch", "do", "else"}


def tokens(text):
    """All tokens but white space, with the line each begins on."""
    found, line = [], 1
    for match in _LEXER.finditer(text):
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match.group(), line))
        line += match.group().count("\n")
    return found


def code(all_tokens):
    return [t for t in all_tokens if t.kind not in ("comment", "directive")]


def includes(all_tokens):
    """(line, text, is_own) of each #include: "net/loop.h" is our own."""
    for token in all_tokens:
        if token.kind == "directive":
            match = re.match(r'\s*#\s*include\s*(["<])([^">]+)', token.text)
            if match:
                yield token.line, match.group(2), match.group(1) == '"'


def calls(all_tokens):
    """(line, name) wherever a word stands before an opening parenthesis, in
    directives too."""
    plain = []
    for token in all_tokens:
        if token.kind == "directive":
            body = re.sub(r"^\s*#\s*\w+", "", token.text).replace("\\\n", " ")
            plain += [t._replace(line=token.line) for t in tokens(body) if t.kind != "comment"]
        elif token.kind != "comment":
            plain.append(token)
    for token, after in zip(plain, plain[1:]):
        if token.kind == "word" and after.text == "(":
            yield token.line, token.text


def functions(all_tokens):
    """Each function that is defined here. TEST(name) { … } is one too."""
    all_tokens = code(all_tokens)
    at, begin = 0, 0
    while at < len(all_tokens):
        text = all_tokens[at].text
        if text == ";":
            begin = at + 1
        elif text == "{":
            end = _closing(all_tokens, at)
            head = _function_head(all_tokens, begin, at)
            if head:
                name, opening = head
                words = [t.text for t in all_tokens[begin:at]]
                body = _Body(all_tokens[at:end + 1])
                yield Function(name, all_tokens[begin].line, all_tokens[end].line,
                               _count_parameters(all_tokens, opening), "static" in words,
                               body.nesting)
                begin = end + 1
            at = end
        at += 1


def _closing(all_tokens, at):
    """Index of the bracket that closes the one at `at`; the last token if none does."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    opening, closing, depth = all_tokens[at].text, pairs[all_tokens[at].text], 0
    for index in range(at, len(all_tokens)):
        if all_tokens[index].text == opening:
            depth += 1
        elif all_tokens[index].text == closing:
            depth -= 1
            if depth == 0:
                return index
    return len(all_tokens) - 1


def _function_head(all_tokens, begin, at):
    """(name, index of its parenthesis) when the brace at `at` opens a body."""
    candidate = None
    index = begin
    while index < at:
        text = all_tokens[index].text
        if text == "=":
            return None
        if text == "(":
            before = all_tokens[index - 1] if index > begin else None
            if before and before.kind == "word" and before.text != "__attribute__" \
                    and candidate is None:
                candidate = index
            index = _closing(all_tokens, index)
        index += 1
    if candidate is None or all_tokens[at - 1].text != ")":
        return None
    name = all_tokens[candidate - 1].text
    if name.isupper() and candidate == begin + 1:  # a macro that makes a function
        name = all_tokens[candidate + 1].text
    return name, candidate


def _count_parameters(all_tokens, opening):
    end = _closing(all_tokens, opening)
    inside = [t.text for t in all_tokens[opening + 1:end]]
    if inside in ([], ["void"]):
        return 0
    depth, count = 0, 1
    for text in inside:
        depth += (text in "([{") - (text in ")]}")
        count += text == "," and depth == 0
    return count


class _Body:
    """How deep control statements lie inside each other; else-if is no deeper."""

    def __init__(self, body):
        self.tokens, self.at, self.nesting = body, 0, 0
        self._statement(0)

    def _text(self, ahead=0):
        index = self.at + ahead
        return self.tokens[index].text if index < len(self.tokens) else ""

    def _statement(self, depth):
        text = self._text()
        if text == "{":
            self._block(depth)
        elif text in ("for", "while", "switch"):
            self.at += 1
            self._parentheses()
            self._inner(depth)
        elif text == "if":
            self.at += 1
            self._parentheses()
            self._inner(depth)
            if self._text() == "else":
                self.at += 1
                if self._text() == "if":
                    self._statement(depth)
                else:
                    self._inner(depth)
        elif text == "do":
            self.at += 1
            self._inner(depth)
            self._expression(depth)
        elif text in ("case", "default") or (self._text(1) == ":" and text != "?"):
            while self.at < len(self.tokens) and self._text() != ":":
                self.at += 1
            self.at += 1
        else:
            self._expression(depth)

    def _block(self, depth):
        self.at += 1
        while self.at < len(self.tokens) and self._text() != "}":
            if self._text() == "{":
                self._inner(depth)
            else:
                self._statement(depth)
        self.at += 1

    def _inner(self, depth):
        self.nesting = max(self.nesting, depth + 1)
        while self._text() in ("case", "default"):
            self._statement(depth)
        self._statement(depth + 1)

    def _parentheses(self):
        if self._text() == "(":
            self.at = _closing(self.tokens, self.at) + 1

    def _expression(self, depth):
        """To the semicolon; FOR_EACH(…) followed by a statement is a loop."""
        first, start = self._text(), self.at
        while self.at < len(self.tokens):
            text = self._text()
            if text == ";":
                self.at += 1
                return
            if text == "}":
                return
            if text in ("(", "{", "["):
                is_call = text == "(" and self.at == start + 1
                self.at = _closing(self.tokens, self.at) + 1
                if is_call and re.search("for_?each", first, re.IGNORECASE) \
                        and self._text() != ";":
                    self._inner(depth)
                    return
            else:
                self.at += 1
