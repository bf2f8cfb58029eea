"""
Hints of commands in the words of the agent's configuration.

Keys, nodes and deployments are opened by the same functions for commands and for agents, and their hints name a
command's options. An agent has none of them: `in_configured_words` names the keys of its file instead.
"""

from __future__ import annotations

import re
from typing import Final

KEYS: Final = {
    "--rpc-url (or OPML_RPC_URL)": "chain.rpc",
    "--rpc-url": "chain.rpc",
    "--deployment": "chain.deployment",
    "--key-file": "key.file",
    "--keystore": "key.keystore",
    "--password-file": "key.password_file",
    "--signer": "key.signer",
    "--from": "key.address",
    "--max-fee": "treasury.max_fee_per_gas",
}
"""What an option of a command is called in the configuration."""

_OPTION: Final = re.compile(
    "|".join(rf"{re.escape(option)}(?: (?:FILE|URL|ADDRESS|AMOUNT))?(?![\w-])" for option in KEYS)
)


def in_configured_words(text: str) -> str:
    """
    The text with the configuration's keys in the place of options.

    >>> in_configured_words("give --deployment FILE, as `opml-dispute deploy` wrote it")
    'give chain.deployment, as `opml-dispute deploy` wrote it'
    """
    return _OPTION.sub(lambda found: KEYS[re.sub(" (FILE|URL|ADDRESS|AMOUNT)$", "", found[0])], text)
