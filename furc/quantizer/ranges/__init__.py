"""A range for every tensor: the vendor's ten methods, ranges that know what errors cost, and a choice among them."""
