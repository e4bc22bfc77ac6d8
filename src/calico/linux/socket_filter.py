"""Have the kernel drop what a socket should not hear, before it is queued.

A filter is a program of classic BPF: numbers are read in network order, and a
packet is kept when the program gives back something else than 0.

Source:
    man 7 socket, SO_ATTACH_FILTER; linux/filter.h.
"""

import ctypes
import socket
import struct
from enum import IntEnum

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")


class Op(IntEnum):
    """Instructions, as far as they are used."""

    LOAD_WORD = 0x20
    LOAD_HALF = 0x28
    LOAD_WORD_BEHIND = 0x40
    LOAD_HALF_BEHIND = 0x48
    TAKE_HEADER_LENGTH = 0xB1
    JUMP_IF_EQUAL = 0x15
    GIVE_BACK = 0x06


Line = tuple[Op, int, int, int]
"""Instruction, lines to skip when true and when false, and its argument."""


def encode_program(*lines: Line) -> bytes:
    """Return the bytes of a program."""
    return b"".join(_INSTRUCTION.pack(*line) for line in lines)


def attach_filter(made: socket.socket, program: bytes) -> None:
    """Attach a program to a socket; it counts for what comes from now on."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog, with the pointer where this machine aligns it.
    count = len(program) // _INSTRUCTION.size
    described = struct.pack("@HP", count, ctypes.addressof(code))
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
