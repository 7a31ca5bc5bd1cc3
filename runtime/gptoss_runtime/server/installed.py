"""What the vLLM beside this server is and knows, read from its files: importing it takes ten seconds."""

import ast
import importlib.metadata
import importlib.util
import logging
from pathlib import Path


log = logging.getLogger(__name__)

PACKAGE = "vllm"
_TABLE = "environment_variables"
"""Name of the dictionary in its envs.py whose keys are the variables that it knows."""


def vllm_version() -> str:
    """Return the version of vLLM. Empty: there is none here."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


def known_variables() -> frozenset[str] | None:
    """Return the environment variables that vLLM knows. None: there is no vLLM here, or it is written otherwise."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    source = Path(spec.origin).with_name("envs.py")
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        log.warning("Cannot tell which environment variables vLLM knows: %s: %s", source, error)
        return None
    names = _keys(tree)
    if names is None:
        log.warning("Cannot tell which environment variables vLLM knows: no plain table %s in %s", _TABLE, source)
    return names


def _keys(tree: ast.Module) -> frozenset[str] | None:
    for statement in tree.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            target, value = statement.target.id, statement.value
            if target == _TABLE and isinstance(value, ast.Dict):
                return _texts(value)
    return None


def _texts(table: ast.Dict) -> frozenset[str] | None:
    """Return the keys of a table that is nothing but texts and what they mean."""
    keys = [key.value for key in table.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return frozenset(keys) if len(keys) == len(table.keys) else None
