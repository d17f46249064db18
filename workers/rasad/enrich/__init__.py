"""From record bytes to outcomes: decoding, annotation and the events that come of them. Knows no broker."""
