"""Records live channels: claims recordings under a lease, fetches the media, cuts it into files, survives crashes."""
