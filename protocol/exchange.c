#include "protocol/exchange.h"

static err encode_header(const struct exchange *exchange, struct str client_id, struct writer *out)
{
    const struct api_schema *api = api_schema_of(exchange->api_key);
    struct request_header header;
    request_header_init(&header);
    header.request_api_key = exchange->api_key;
    header.request_api_version = (int16_t)exchange->version;
    header.client_id = client_id;
    return message_encode(&request_header_message,
                          api_request_header_version(api, exchange->version), &header, out);
}

err exchange_encode(const struct exchange *exchange, struct str client_id, const void *request,
                    struct writer *out)
{
    TRY(encode_header(exchange, client_id, out));
    return message_encode(api_schema_of(exchange->api_key)->request, exchange->version, request,
                          out);
}

err exchange_encode_body(const struct exchange *exchange, struct str client_id, struct bytes body,
                         struct writer *out)
{
    TRY(encode_header(exchange, client_id, out));
    writer_bytes(out, body.data, body.len);
    return out->failed ? E_LIMIT : OK;
}

err exchange_decode(const struct exchange *exchange, struct bytes frame, struct arena *arena,
                    void *response)
{
    const struct api_schema *api = api_schema_of(exchange->api_key);
    struct response_header header;
    struct reader reader = reader_of(frame);
    TRY(message_decode(&response_header_message,
                       api_response_header_version(api, exchange->version), &reader, arena,
                       &header));
    message_init(api->response, response);
    return message_decode(api->response, exchange->version, &reader, arena, response);
}
