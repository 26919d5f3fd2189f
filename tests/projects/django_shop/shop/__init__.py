"""The items of the shop, its cart and its orders."""
