"""From shots of darks, flats and charts to a `CameraProfile`."""
