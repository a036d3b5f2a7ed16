#include "broker/coordinator/coordinator.h"
#include <stdlib.h>
struct coordinator{int x;};
struct coordinator *coordinator_new(const struct coordinator_config *c){(void)c;return calloc(1,sizeof(struct coordinator));}
void coordinator_shutdown(struct coordinator *c){(void)c;}
void coordinator_free(struct coordinator *c){free(c);}
int32_t coordinator_partition_of(struct str g,int32_t n){(void)g;(void)n;return 0;}
void coordinator_partition_elected(struct coordinator *c, struct partition *p,int32_t e){(void)c;(void)p;(void)e;}
void coordinator_partition_resigned(struct coordinator *c,int32_t p,int32_t e){(void)c;(void)p;(void)e;}
void coordinator_topic_deleted(struct coordinator *c,struct str t){(void)c;(void)t;}
