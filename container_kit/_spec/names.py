"""Names for containers that were not given one: an adjective and a surname.

Pure: the caller brings the randomness. The people made computers, networks or
measurements what they are.
"""

from __future__ import annotations

_ADJECTIVES = (
    "agile", "amber", "ample", "apt", "avid", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
    "cheerful", "civil", "clear", "clever", "cosmic", "cozy", "crisp", "curious", "daring", "deft", "eager",
    "earnest", "fair", "fluent", "fond", "frank", "gentle", "glad", "golden", "hardy", "honest", "humble",
    "jolly", "keen", "kind", "lively", "loyal", "lucid", "merry", "mild", "mellow", "neat", "nimble", "noble",
    "patient", "placid", "plucky", "polite", "proud", "quick", "quiet", "ready", "serene", "silent", "sober",
    "steady", "sunny", "tidy", "vivid", "warm", "wise", "witty",
)  # fmt: skip
_SURNAMES = (
    "abel", "ada", "allen", "ampere", "babbage", "backus", "banach", "bartik", "bernoulli", "berners", "bohr",
    "boole", "booth", "borg", "brooks", "cantor", "cerf", "chomsky", "church", "clarke", "cocke", "codd", "cray",
    "curie", "dahl", "darwin", "dijkstra", "dirac", "easley", "eckert", "emmy", "engelbart", "erdos", "euclid",
    "euler", "faraday", "feinler", "fermat", "fourier", "galois", "gauss", "goldberg", "hamilton", "hamming",
    "hertz", "hilbert", "hoare", "holberton", "hopper", "huffman", "hypatia", "iverson", "jacquard", "kahn",
    "kepler", "kernighan", "kleene", "knuth", "kolmogorov", "lamarr", "lamport", "leibniz", "liskov", "lovelace",
    "markov", "mauchly", "mccarthy", "meitner", "metcalfe", "milner", "minsky", "naur", "newell", "noether",
    "nygaard", "pascal", "perlman", "planck", "postel", "ritchie", "rivest", "shannon", "sutherland", "tarjan",
    "tesla", "thompson", "torvalds", "turing", "volta", "wilkes", "wing", "wirth", "yao", "zuse",
)  # fmt: skip


def name_from(entropy: int) -> str:
    """Return a name for a random number; big numbers add digits: `keen_hopper`, `keen_hopper7`.

    Below `plain_names()` there are no digits. A caller that finds its name taken draws
    a larger number.
    """
    rest, surname = divmod(entropy, len(_SURNAMES))
    rest, adjective = divmod(rest, len(_ADJECTIVES))
    return f"{_ADJECTIVES[adjective]}_{_SURNAMES[surname]}{rest or ''}"


def plain_names() -> int:
    """Return how many names without digits there are."""
    return len(_ADJECTIVES) * len(_SURNAMES)
