/* A header that says in its first comment what it is for. */
#pragma once

struct good {
        int octets; /* strcpy() in a comment is a word like any other */
};
