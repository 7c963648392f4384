"""Names for containers that were given none."""

from __future__ import annotations

_HOW = """
able agile airy apt bold brave brisk calm civil clear clever cosy crisp deft eager early easy fair
fine firm fond frank fresh gentle glad golden good grand happy hardy honest jolly keen kind lively
loyal lucky mellow merry mild modest neat nimble noble patient plain polite proud quick quiet ready
rosy sharp shy silent simple smart smooth snug solid steady still strong sturdy subtle sunny sure
swift tender tidy tranquil true trusty vivid warm wise witty young
"""
_WHAT = """
alder anchor ant badger barge beacon beaver bee birch bison bridge brook canal canoe cedar comet
crane creek cricket dolphin dove eagle elk elm falcon fern finch fir fjord forest fox gull harbour
hare hawk hazel heron hill iris island ivy kayak lake larch lark lily linden lynx maple marten
meadow mole moon moose moss oak orchard otter owl pebble pier pine planet plover pony poplar quail
quay raven reed river robin rook salmon seal shore sloop spruce squirrel stork stream summit swan
teal thrush tide trout valley walnut willow wren yew
"""


def made_up_name(random: bytes) -> str:
    """A name of two words by a few random bytes; other bytes may give the same."""
    number = int.from_bytes(random)
    how, what = _HOW.split(), _WHAT.split()
    return f"{how[number % len(how)]}_{what[number // len(how) % len(what)]}"
