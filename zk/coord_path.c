/* What ZooKeeper takes for a path, and so the embedded store: absolute, no empty name, none that is "." or
 * "..", no control characters. */
#include "zk/coord.h"

#include <string.h>

static bool name_valid(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) {
            return false;
        }
    }
    return !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.');
}

bool coord_path_valid(const char *path, bool sequential)
{
    if (path[0] != '/') {
        return false;
    }
    if (path[1] == '\0') {
        return true;
    }
    for (const char *name = path + 1;;) {
        size_t len = strcspn(name, "/");
        bool last = name[len] == '\0';
        if (!(last && sequential) && (len == 0 || !name_valid(name, len))) {
            return false;
        }
        if (last) {
            return true;
        }
        name += len + 1;
    }
}
