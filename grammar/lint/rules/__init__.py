"""All rules: those of BuildKit in its order, then ours."""

from __future__ import annotations

from grammar.lint.model import Rule
from grammar.lint.rules import bases, files, image, run, stages, style, unused, variables

_BUILDKIT = """
    StageNameCasing FromAsCasing NoEmptyContinuation ConsistentInstructionCasing
    DuplicateStageName ReservedStageName JSONArgsRecommended MaintainerDeprecated
    UndefinedArgInFrom WorkdirRelativePath UndefinedVar MultipleInstructionsDisallowed
    LegacyKeyValueFormat InvalidBaseImagePlatform RedundantTargetPlatform SecretsUsedInArgOrEnv
    InvalidDefaultArgInFrom FromPlatformFlagConstDisallowed CopyIgnoredFile
    InvalidDefinitionDescription ExposeProtoCasing ExposeInvalidFormat
""".split()

_WRITTEN: tuple[Rule, ...] = (
    *stages.RULES,
    *style.RULES,
    *bases.RULES,
    *variables.RULES,
    *unused.RULES,
    *image.RULES,
    *files.RULES,
    *run.RULES,
)
_ORDER = {name: index for index, name in enumerate(_BUILDKIT)}

RULES = tuple(sorted(_WRITTEN, key=lambda rule: _ORDER.get(rule.name, len(_ORDER))))
