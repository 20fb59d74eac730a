/* A header that says in its first comment what it is for. */
#pragma once
