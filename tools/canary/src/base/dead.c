int dead; /* named only in a comment of meson.build */
