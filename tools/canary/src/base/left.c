/* TODO: later */
int left;
