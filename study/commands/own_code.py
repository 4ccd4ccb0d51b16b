"""Options that say which code of one's own may run."""

from typing import Annotated

from study.commands.settings import option

Trust = Annotated[
    str,
    option(
        "--trust",
        help="code that a file names and that may run, as package.module:function (several with "
        "commas between them); its source is remembered (docs/security.md)",
        value="NAME",
        default="what the command line names otherwise, and what was trusted before",
    ),
]

AcceptChangedCode = Annotated[
    bool,
    option(
        "--accept-changed-code",
        help="go on though the source of the study's own code was changed: with new "
        "baselines; what was trained before is kept, and not ranked",
    ),
]
