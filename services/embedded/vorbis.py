"""The comments of FLAC, Opus and Vorbis: `KEY=value`, in one packet of an Ogg stream or one block of a FLAC file."""

from services.embedded.texts import MAX_TEXT_BYTES, MAX_TEXTS, Broken, Part, Texts

FLAC_HEAD = b"fLaC"
OGG_HEAD = b"OggS"

_COMMENT_BLOCK = 4
_COMMENT_HEADS = (b"OpusTags", b"\x03vorbis", b"\x81theora")
# Sound, pictures and subtitles of one file; each has its comments in its second packet.
_MAX_STREAMS = 8


def read_flac(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    file.skip(len(FLAC_HEAD))
    is_last = False
    while not is_last and file.left >= 4:
        head = file.number(1)
        is_last = bool(head & 0x80)
        block = file.part(file.number(3))
        if head & 0x7F == _COMMENT_BLOCK:
            _add_comments(block.rest(), texts)


def read_ogg(file: Part, texts: Texts) -> None:
    """Raises Broken."""
    packets: dict[int, list[bytearray]] = {}
    while file.left >= 27 and not texts.is_complete:
        if file.read(4) != OGG_HEAD:
            raise Broken("a page does not begin as one")
        file.skip(10)
        serial = file.number(4, "little")
        file.skip(8)
        lengths = file.read(file.number(1))
        page = file.part(sum(lengths))
        begun = packets.setdefault(serial, [bytearray()])
        if len(packets) > _MAX_STREAMS or all(len(found) > 2 for found in packets.values()):
            return
        _take(page, lengths, begun, texts)


def _take(page: Part, lengths: bytes, packets: list[bytearray], texts: Texts) -> None:
    """Adds a page to its stream's packets; what comes behind the second one is not looked at."""
    for length in lengths:
        if len(packets) > 2:
            return
        packets[-1] += page.read(length)
        if len(packets[-1]) > MAX_TEXT_BYTES:
            raise Broken("a packet is larger than any comment")
        if length < 255:
            if len(packets) == 2:
                _add_packet(bytes(packets[1]), texts)
            packets.append(bytearray())


def _add_packet(packet: bytes, texts: Texts) -> None:
    for head in _COMMENT_HEADS:
        if packet.startswith(head):
            _add_comments(packet[len(head) :], texts)
    # FLAC in Ogg: a block with its head.
    if packet and packet[0] & 0x7F == _COMMENT_BLOCK:
        _add_comments(packet[4:], texts)


def _add_comments(data: bytes, texts: Texts) -> None:
    place = 4 + _number(data, 0)
    count = _number(data, place)
    place += 4
    for _ in range(min(count, MAX_TEXTS)):
        length = _number(data, place)
        comment = data[place + 4 : place + 4 + length]
        if len(comment) < length:
            raise Broken("a comment is longer than its packet")
        key, is_comment, value = comment.partition(b"=")
        if is_comment:
            texts.add(key, value)
        place += 4 + length


def _number(data: bytes, place: int) -> int:
    if place + 4 > len(data):
        raise Broken("the comments end too early")
    return int.from_bytes(data[place : place + 4], "little")
