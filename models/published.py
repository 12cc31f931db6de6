"""Weight names of the published checkpoints, used only here (docs/METHOD.md, section 7)."""

import re

from torch import Tensor

from models.layers import BASE_GRID, sincos_position_table
from models.protocol import NETWORK

# Published prefix -> ours. A prefix of another prefix comes after it.
PUBLISHED_PREFIXES = {
    "enc_norm1.": "skip_norm1.",
    "enc_norm2.": "skip_norm2.",
    "recon_blocks_mim_encoder.": "refine.",
    "decoder_common_blocks.0.": "common_cross.",
    "decoder_common_blocks.1.": "common_block.",
    "decoder_common_blocks.2.": "common_head.",
    "decode_common_skipconn.": "common_skip_cross.",
    "decoder_unique_blocks.0.": "unique_cross.",
    "decoder_unique_blocks.1.": "unique_block.",
    "decoder_unique_blocks.2.": "unique_head.",
    "decoder_unique_residual_skipconn.": "unique_skip_residual.",
    "decoder_unique_residual.": "unique_residual.",
    "decoder_unique_skipconn.": "unique_skip_cross.",
    "decoder_fuse_blocks.0.": "fuse_cross.",
    "decoder_fuse_blocks.1.": "fuse_block.",
    "decoder_fuse_blocks.2.": "fuse_head.",
    "decoder_fuse_skipconn.": "fuse_skip_cross.",
    "mim_decoder_blocks.": "mfm_blocks.",
    "mim_decoder_norm.": "mfm_norm.",
    "mim_decoder_pred.": "mfm_head.",
    "latent_predict1.": "predict1.",
    "latent_predict2.": "predict2.",
    "mm_unique_norm1.": "predict_norm1.",
    "mm_unique_norm2.": "predict_norm2.",
}
ATTENTION_PREFIXES = {
    "multi_input_self_attn.multihead_attn.": "",
    "multi_input_self_attn.": "",
}
POSITION_TABLES = ("encoder.pos_embed", "decoder_pos_embed")  # computed by formula, never loaded
TEACHERS = ("model_encoder1.", "model_encoder2.")


def from_published_name(name: str) -> str:
    """Our name of a published weight; shared names are returned unchanged."""
    for theirs, ours in PUBLISHED_PREFIXES.items():
        if name.startswith(theirs):
            name = ours + name[len(theirs):]
            break
    for theirs, ours in ATTENTION_PREFIXES.items():
        name = name.replace(theirs, ours)
    return name


def to_published_name(name: str) -> str:
    """Published name of one of our weights."""
    for theirs, ours in PUBLISHED_PREFIXES.items():
        if name.startswith(ours):
            rest = name[len(ours):]
            if re.match(r"in_proj_|out_proj\.", rest):
                rest = "multi_input_self_attn.multihead_attn." + rest
            elif re.match(r"(query|key|value)\.", rest):
                rest = "multi_input_self_attn." + rest
            return theirs + rest
    return name


def to_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict with published names, including the fixed position tables of the 14 x 14 grid."""
    state = {name.removeprefix(NETWORK): value for name, value in state.items()}
    result = {to_published_name(name): value for name, value in state.items()}
    table = sincos_position_table(state["encoder.cls_token"].shape[-1], (BASE_GRID, BASE_GRID))
    return result | dict.fromkeys(POSITION_TABLES, table)
