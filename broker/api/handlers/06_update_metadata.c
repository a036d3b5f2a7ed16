/* UpdateMetadata: a controller says what clients are to be told. (reference: zookeeper §5.2) */
#include "broker/api/control_request.h"

enum req_status handle_update_metadata(struct req *r)
{
    return control_request(r);
}
