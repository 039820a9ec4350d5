"""From a document of this API to a spec that this program runs. Pure.

`places` finds where, `variants` how, `merging` what a change makes of a document, `translator` puts them together.
"""

from lamplighter.api.hf.translate.merging import merged, parted
from lamplighter.api.hf.translate.places import find_offer
from lamplighter.api.hf.translate.translator import Translator, check_installed, resources_of

__all__ = ["Translator", "check_installed", "find_offer", "merged", "parted", "resources_of"]
