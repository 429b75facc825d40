"""The methods by name, in one plain dict."""

from __future__ import annotations

from ispkit.core.errors import ParamError, nearest
from ispkit.tune.contracts import Method, Searcher, SearchSetup
from ispkit.tune.sampler import OPTUNA_METHODS
from ispkit.tune.searchers.cma import CmaSearcher
from ispkit.tune.searchers.from_optuna import OptunaSearcher
from ispkit.tune.searchers.local import BlockwiseSearcher, NelderMeadSearcher, PowellSearcher
from ispkit.tune.searchers.record import read_options
from ispkit.tune.searchers.simple import DefaultSearcher, LatinSearcher, RandomSearcher, SobolSearcher
from ispkit.tune.searchers.turbo import TurboSearcher


def _sampled(name: str) -> Method:
    def method(setup: SearchSetup) -> Searcher:
        read_options(setup, {})
        return OptunaSearcher(setup, OPTUNA_METHODS[name](setup.seed, setup.budget))

    return method


def _proxy(setup: SearchSetup) -> Searcher:
    from ispkit.tune.proxy.search import ProxySearcher  # networks are loaded only by who uses them

    return ProxySearcher(setup)


def _scalar_proxy(setup: SearchSetup) -> Searcher:
    from ispkit.tune.proxy.scalar import ScalarProxySearcher

    return ScalarProxySearcher(setup)


def _auto(setup: SearchSetup) -> Searcher:
    from ispkit.tune.auto.auto import AutoSearcher  # imports the scalar search, which imports this package

    return AutoSearcher(setup)


METHODS: dict[str, Method] = {
    "default": DefaultSearcher,
    "random": RandomSearcher,
    "lhs": LatinSearcher,
    "sobol": SobolSearcher,
    "nelder-mead": NelderMeadSearcher,
    "blockwise": BlockwiseSearcher,
    "powell": PowellSearcher,
    "tpe": _sampled("tpe"),
    "cma": CmaSearcher,
    "turbo": TurboSearcher,
    "nsga2": _sampled("nsga2"),
    "proxy": _proxy,
    "scalar-proxy": _scalar_proxy,
    "auto": _auto,
}


def method_of(name: str) -> Method:
    """The method of that name. Raises `ParamError` for one that is not there."""
    if name not in METHODS:
        raise ParamError(f"no method {name!r}; {nearest(name, METHODS)}")
    return METHODS[name]
