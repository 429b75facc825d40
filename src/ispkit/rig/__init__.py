"""A screen and a camera in the loop: displays, cameras, and the light-transport map between their pixels."""
