"""Data: what exists (listing, folder, cifar, digits), how it is cut (imbalance) and how it is fed (transforms, loaders)."""
