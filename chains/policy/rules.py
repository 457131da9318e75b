"""Rules in CEL: compiled once for a policy, evaluated for one image, and true only where they say ``true``.

The engine is cel-expr-python, the Python binding of CEL-C++ (extra ``policy``). Three things make it safe.
An error of a rule is a *value* of the engine whose ``bool`` is True, so that a result counts only when its
type is BOOL and it is ``True``. What rules see is bounded before: depth, whole numbers below 2^64, text
without lone surrogates. And an activation, which grows with every evaluation, is made for one image, or for
some statements of it, and thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chains.errors import UsageError
from chains.extras import install_hint
from chains.policy.document.policy import Policy, Rule

if TYPE_CHECKING:
    from cel_expr_python import cel

VARIABLES = {
    "image": "the image: ref, registry, repository, digest",
    "provenance": "the provenance statement",
    "report": "the execution report of the same run; attributes is empty where there is none",
    "attestations": "all verified statements of the image, each with its signer",
    "signer": "who signed the provenance: trust, keyid, identity, issuer",
    "now": "the time of the decision",
}
"""What a rule can name. Every other name is an error when the policy is loaded."""
OF_CANDIDATE = ("provenance", "report", "signer")
"""What differs between the provenance statements of one image; all else that rules see is the image's."""
MOST_LEVELS = 128
"""Levels of nesting that rules see; the engine ends the process far beyond."""
MOST_VALUES = 200_000
"""Values of all statements of one image that rules see."""
_AT_ONCE = 64
"""Statements that share an activation, so that what all of them see is converted once for them."""
_CANDIDATES = "candidates__"
_NAMES_CANDIDATE = re.compile(rf"\b(?:{'|'.join(OF_CANDIDATE)})\b")
_LARGEST_WHOLE = (1 << 63) - 1
_LARGEST_UNSIGNED = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class RuleResult:
    """``is_met`` only where the rule gave ``true``. ``error`` says why it gave neither true nor false."""

    rule: Rule
    is_met: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A fact in the form that the engine takes, made once for several evaluations.

    ``count`` is how many values it has, on so many ``levels``. ``error`` says why rules must not see it.
    """

    value: Any
    count: int = 0
    error: str = ""
    levels: int = 1

    @classmethod
    def of(cls, fact: Any) -> Prepared:
        """Prepare a fact of plain JSON values. Never raises for what it holds."""
        try:
            copied, count, levels = _plain({"": fact})
        except ValueError as error:
            return cls(None, error=str(error))
        return cls(copied[""], count, "", levels)


@dataclass(frozen=True, slots=True)
class Rules:
    """The compiled rules of a policy, none where it has none."""

    rules: tuple[Rule, ...] = ()
    _compiled: tuple[cel.Expression, ...] = field(default=(), repr=False)
    _environment: cel.Env | None = field(default=None, repr=False)
    _of_several: cel.Env | None = field(default=None, repr=False)
    """Has the name of all candidates, too, which no rule may use."""
    _placed: dict[tuple[int, int], cel.Expression | None] = field(default_factory=dict, repr=False)
    """By rule and place: the rule about the candidate of that place, None where it cannot be written so."""

    @property
    def tell_candidates_apart(self) -> bool:
        """Whether the result can differ between two provenance statements of one image."""
        return any(_NAMES_CANDIDATE.search(rule.cel) for rule in self.rules)

    def evaluate(self, facts: Mapping[str, Any]) -> list[RuleResult]:
        """Return the result of every rule for one statement; see :meth:`evaluate_each`."""
        return next(self.evaluate_each([facts]))

    def evaluate_each(self, several: Iterable[Mapping[str, Any]]) -> Iterator[list[RuleResult]]:
        """Yield the result of every rule for each statement of one image. Never raises for what facts hold.

        The facts have a value for each of :data:`VARIABLES`: plain JSON values, or one that was prepared, and
        ``now`` as an aware time. Those that :data:`OF_CANDIDATE` does not name are the same in all.

        The engine converts what an activation holds again for each of them, which takes most of the time.
        The first statement has one of its own, because most images have one statement; those after it share
        them.
        """
        waiting: list[dict[str, Any] | str] = []
        size, values = 1, 0
        for facts in several:
            prepared, own = _prepared(facts)
            waiting.append(prepared)
            values += own
            if len(waiting) >= size or values >= MOST_VALUES:
                yield from self._evaluate_some(waiting)
                waiting, values, size = [], 0, min(2 * size, _AT_ONCE)
        yield from self._evaluate_some(waiting)

    def _evaluate_some(self, several: list[dict[str, Any] | str]) -> list[list[RuleResult]]:
        fine = [facts for facts in several if not isinstance(facts, str)]
        shared: cel.Activation | None = None
        if len(fine) > 1 and self._of_several is not None:
            candidates = [{name: facts[name] for name in OF_CANDIDATE} for facts in fine]
            common = {name: value for name, value in fine[0].items() if name not in OF_CANDIDATE}
            with suppress(RuntimeError, ValueError, TypeError, OverflowError):  # told for each of them
                shared = self._of_several.Activation({**common, _CANDIDATES: candidates})
        found, place = [], 0
        for facts in several:
            if isinstance(facts, str):
                found.append([RuleResult(rule, is_met=False, error=facts) for rule in self.rules])
                continue
            found.append(self._evaluate_one(facts, place, shared))
            place += 1
        return found

    def _evaluate_one(
        self, facts: Mapping[str, Any], place: int, shared: cel.Activation | None
    ) -> list[RuleResult]:
        if self._environment is None:
            return []
        own: cel.Activation | None = None
        found = []
        for number, (rule, compiled) in enumerate(zip(self.rules, self._compiled, strict=True)):
            placed = self._at_place(number, place) if shared is not None else None
            if shared is not None and placed is not None:
                found.append(_evaluate(rule, placed, shared))
                continue
            try:
                own = own or self._environment.Activation(facts)
            except (RuntimeError, ValueError, TypeError, OverflowError) as error:
                found.append(RuleResult(rule, is_met=False, error=f"the evidence: {error}"))
                continue
            found.append(_evaluate(rule, compiled, own))
        return found

    def _at_place(self, number: int, place: int) -> cel.Expression | None:
        """Return a rule about one of the candidates that share an activation."""
        if self._of_several is None:
            return None
        if (number, place) not in self._placed:
            # the line break ends a comment of the rule
            cel = f"(\n{self.rules[number].cel}\n)"
            for name in OF_CANDIDATE:
                cel = f"cel.bind({name}, {_CANDIDATES}[{place}].{name}, {cel})"
            try:
                self._placed[number, place] = self._of_several.compile(cel)
            except (RuntimeError, ValueError):
                self._placed[number, place] = None  # it has as many levels as there may be
        return self._placed[number, place]


def compile_rules(policy: Policy) -> Rules:
    """Compile the rules of a policy. Raises :class:`UsageError` naming each rule that does not compile.

    A name that is not declared, a function that does not exist and a result that is no truth value are such
    errors. Without rules nothing is imported.
    """
    if not policy.rules:
        return Rules()
    compiled, wrong = check_rules(policy)
    if wrong:
        told = "; ".join(f"rule {rule.name}: {why}" for rule, why in wrong)
        raise UsageError(f"policy {policy.name}: {told}")
    return compiled


def check_rules(policy: Policy) -> tuple[Rules, list[tuple[Rule, str]]]:
    """Return the rules that compile, and the others with the reason.

    Raises :class:`UsageError` where the engine is not installed.
    """
    try:
        from cel_expr_python import cel  # noqa: PLC0415 - an extra
        from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(
            f"policy {policy.name}: rules in CEL need a further package: {install_hint('policy')}"
        ) from error
    types = dict.fromkeys(VARIABLES, cel.Type.DYN) | {"now": cel.Type.TIMESTAMP}
    extensions = [
        ext_strings.ExtStrings(),
        ext_optional.ExtOptional(),
        ext_bindings.ExtBindings(),
    ]
    environment = cel.NewEnv(variables=types, extensions=extensions)
    of_several = cel.NewEnv(variables=types | {_CANDIDATES: cel.Type.DYN}, extensions=extensions)
    rules, compiled, wrong = [], [], []
    for rule in policy.rules:
        try:
            expression = environment.compile(rule.cel)
        except (RuntimeError, ValueError) as error:
            wrong.append((rule, _first_line(error)))
            continue
        result = expression.return_type()
        if result not in (cel.Type.BOOL, cel.Type.DYN):
            wrong.append((rule, f"gives {result.name()}, expected true or false"))
            continue
        rules.append(rule)
        compiled.append(expression)
    return Rules(tuple(rules), tuple(compiled), environment, of_several), wrong


def _first_line(error: Exception) -> str:
    """Return the first line of an engine's message; those below it draw the place with spaces."""
    return str(error).strip().partition("\n")[0][:300]


def _evaluate(rule: Rule, compiled: cel.Expression, activation: cel.Activation) -> RuleResult:
    from cel_expr_python import cel  # noqa: PLC0415 - an extra

    try:
        value = compiled.eval(activation)
        kind = value.type()
        result = value.value()
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        return RuleResult(rule, is_met=False, error=_first_line(error))
    if kind != cel.Type.BOOL or not isinstance(result, bool):
        told = _first_line(RuntimeError(str(result))) if kind == cel.Type.ERROR else f"gives {kind.name()}"
        return RuleResult(rule, is_met=False, error=told)
    return RuleResult(rule, is_met=result)


def _prepared(facts: Mapping[str, Any]) -> tuple[dict[str, Any] | str, int]:
    """Return facts as the engine takes them, or why it must not see them; and how many are its own."""
    try:
        prepared, count, _ = _plain(facts)
    except ValueError as error:
        return f"the evidence: {error}", 0
    return prepared, count - sum(fact.count for fact in facts.values() if isinstance(fact, Prepared))


def _plain(facts: Mapping[str, Any]) -> tuple[dict[str, Any], int, int]:
    """Return the facts as the engine takes them, how many values they have, and on how many levels.

    Raises :class:`ValueError` for what the engine must not see.
    """
    left, deepest = MOST_VALUES, 1
    copied: dict[Any, Any] = {}
    # a stack and no recursion: what is too deep is refused and not met by the interpreter's own limit
    waiting: list[tuple[Any, Any, int]] = [(facts, copied, 1)]
    while waiting:
        source, target, level = waiting.pop()
        is_list = isinstance(target, list)
        members: Iterable[tuple[Any, Any]] = enumerate(source) if is_list else source.items()
        for key, value in members:
            is_prepared = isinstance(value, Prepared)
            left -= value.count if is_prepared else 1
            if left < 0:
                raise ValueError(f"more than {MOST_VALUES} values")
            deepest = max(deepest, level + value.levels - 1 if is_prepared else level)
            if deepest > MOST_LEVELS:
                raise ValueError(f"more than {MOST_LEVELS} levels deep")
            inner = _copied(value)
            target[key if is_list else _text(key)] = inner
            if isinstance(inner, dict | list) and not is_prepared:
                waiting.append((value, inner, level + 1))
    return copied, MOST_VALUES - left, deepest


def _copied(value: Any) -> Any:
    """Return one value as the engine takes it; a mapping or list empty, of the same length."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        # the engine refuses the whole evaluation for one number that it cannot hold
        is_held = abs(value) <= _LARGEST_WHOLE or 0 < value <= _LARGEST_UNSIGNED
        return value if is_held else str(value)
    if isinstance(value, list | tuple):
        return [None] * len(value)
    if isinstance(value, dict | Mapping):
        return {}
    if not isinstance(value, Prepared):
        return value
    if value.error:
        raise ValueError(value.error)
    return value.value


def _text(text: str) -> str:
    text = str.__str__(text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text holds a lone surrogate") from error
    return text
