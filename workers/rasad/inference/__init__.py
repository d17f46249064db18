"""Running encoders: model bundles, tokenising into windows, packing under a token budget, backends, decoding."""
