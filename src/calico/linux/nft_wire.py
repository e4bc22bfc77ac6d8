"""The numbers of linux/netfilter/nf_tables.h that are used here.

Names follow the kernel's, without the prefix `NFTA_` and in the same groups.
"""

from enum import IntEnum, IntFlag

SUBSYSTEM = 10 << 8
FAMILY_INET = 1
GROUP_NFTABLES = 7
GROUP_TRACE = 9

BATCH_BEGIN = 0x10
BATCH_END = 0x11

TYPE_VERDICT = 0xFFFFFF00


class Msg(IntEnum):
    """Messages; the subsystem goes into the upper byte."""

    NEWTABLE = 0
    GETTABLE = 1
    DELTABLE = 2
    NEWCHAIN = 3
    GETCHAIN = 4
    DELCHAIN = 5
    NEWRULE = 6
    GETRULE = 7
    DELRULE = 8
    NEWSET = 9
    GETSET = 10
    DELSET = 11
    NEWSETELEM = 12
    GETSETELEM = 13
    DELSETELEM = 14
    NEWGEN = 15
    GETGEN = 16
    TRACE = 17


class TableFlag(IntFlag):
    """States of a table."""

    DORMANT = 1
    OWNER = 2
    PERSIST = 4


class SetFlag(IntFlag):
    """Properties of a set."""

    ANONYMOUS = 1
    CONSTANT = 2
    INTERVAL = 4
    MAP = 8
    TIMEOUT = 16
    EVAL = 32


class ElementFlag(IntFlag):
    """Properties of an element."""

    INTERVAL_END = 1


class Table(IntEnum):
    """Attributes of a table."""

    NAME = 1
    FLAGS = 2
    OWNER = 7


class ChainAttr(IntEnum):
    """Attributes of a chain."""

    TABLE = 1
    NAME = 3
    HOOK = 4
    POLICY = 5
    TYPE = 7


class HookAttr(IntEnum):
    """Attributes of a base chain's hook."""

    NUMBER = 1
    PRIORITY = 2


class RuleAttr(IntEnum):
    """Attributes of a rule."""

    TABLE = 1
    CHAIN = 2
    HANDLE = 3
    EXPRESSIONS = 4
    USERDATA = 7


class SetAttr(IntEnum):
    """Attributes of a set."""

    TABLE = 1
    NAME = 2
    FLAGS = 3
    KEY_TYPE = 4
    KEY_LENGTH = 5
    DATA_TYPE = 6
    DATA_LENGTH = 7
    DESCRIPTION = 9
    ID = 10
    TIMEOUT = 11
    USERDATA = 13
    EXPRESSION = 17
    EXPRESSIONS = 18
    COUNT = 20


class ElementsAttr(IntEnum):
    """Attributes of a message about elements."""

    TABLE = 1
    SET = 2
    ELEMENTS = 3
    SET_ID = 4


class ElementAttr(IntEnum):
    """Attributes of one element."""

    KEY = 1
    DATA = 2
    FLAGS = 3
    USERDATA = 6
    EXPRESSION = 7
    EXPRESSIONS = 11


class Data(IntEnum):
    """Attributes of a value, and of a verdict inside it."""

    VALUE = 1
    VERDICT = 2


class VerdictAttr(IntEnum):
    """Attributes of a verdict."""

    CODE = 1
    CHAIN = 2


class TraceAttr(IntEnum):
    """Attributes of an event of a packet's way."""

    TABLE = 1
    CHAIN = 2
    HANDLE = 3
    TYPE = 4
    VERDICT = 5
    ID = 6
    NETWORK_HEADER = 8
    TRANSPORT_HEADER = 9
    IN_INDEX = 10
    OUT_INDEX = 12
    POLICY = 16


class Generation(IntEnum):
    """Attributes of a generation."""

    ID = 1
    PROCESS_ID = 2
    PROCESS_NAME = 3


LIST_ELEMENT = 1
EXPRESSION_NAME = 1
EXPRESSION_DATA = 2
DESCRIPTION_SIZE = 1

COUNTER_BYTES = 1
COUNTER_PACKETS = 2

LOOKUP_SET = 1
LOOKUP_SREG = 2
LOOKUP_DREG = 3
LOOKUP_SET_ID = 4
LOOKUP_FLAGS = 5
LOOKUP_INVERTED = 1

DYNSET_SET = 1
DYNSET_OP = 3
DYNSET_SREG = 4
DYNSET_TIMEOUT = 6
DYNSET_EXPRESSION = 7
DYNSET_FLAGS = 9
DYNSET_UPDATE = 1

LIMIT_RATE = 1
LIMIT_UNIT = 2
LIMIT_BURST = 3
LIMIT_TYPE = 4
LIMIT_FLAGS = 5
LIMIT_PACKETS = 0

LOG_GROUP = 1
LOG_PREFIX = 2

IMMEDIATE_DREG = 1
IMMEDIATE_DATA = 2

VERDICT_DROP = 0
VERDICT_ACCEPT = 1
VERDICT_STOLEN = 2
VERDICT_QUEUE = 3
VERDICT_CONTINUE = -1
VERDICT_JUMP = -3
VERDICT_GOTO = -4
VERDICT_RETURN = -5
