/* The handlers of routes.c: see rest_request.h for what each of them may do. */
#ifndef REDUCER_REST_HANDLERS_H
#define REDUCER_REST_HANDLERS_H

#include "reducer/rest/rest_request.h"

/* rest_list.c: the generic set of every resource */
FED_NODISCARD int rest_list(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_list_post(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_count(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_count_post(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_get(struct rest_request *request, struct fed_err *err);

/* rest_client.c: clients and combiners */
FED_NODISCARD int rest_client_add(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_client_config(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_client_delete(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_combiner_delete(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_combiner_clients(struct rest_request *request, struct fed_err *err);

/* rest_record.c: attributes, telemetry, predictions */
FED_NODISCARD int rest_client_attributes(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_attributes_current(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_attribute_add(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_telemetry_add(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_prediction_start(struct rest_request *request, struct fed_err *err);

/* rest_session.c */
FED_NODISCARD int rest_session_add(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_session_start(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_session_split(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_session_change(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_session_stop(struct rest_request *request, struct fed_err *err);

/* rest_model.c, rest_trail.c */
FED_NODISCARD int rest_model_add(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_model_change(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_model_download(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_model_parameters(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_model_active(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_model_ancestors(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_model_descendants(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_model_leaves(struct rest_request *request, struct fed_err *err);

/* rest_package.c: packages and helpers */
FED_NODISCARD int rest_package_add(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_package_active(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_package_set_active(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_package_unset_active(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_package_download(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_package_checksum(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_helper_active(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_helper_set(struct rest_request *request, struct fed_err *err);

/* rest_live.c */
FED_NODISCARD int rest_live(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_state(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_health(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_ready(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_version(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_metrics(struct rest_request *request, struct fed_err *err);

/* rest_dashboard.c */
FED_NODISCARD int rest_dashboard_home(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_dashboard_page(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_dashboard_file(struct rest_request *request, struct fed_err *err);

/* rest_view_*.c: flat rows, for the dashboard and for spreadsheets */
FED_NODISCARD int rest_view_rounds(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_view_client_rounds(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_view_refusals(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_view_client_times(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_view_combiner_times(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_view_timeline(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_view_validations(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_view_confusion(struct rest_request *request, struct fed_err *err);

/* rest_events.c */
FED_NODISCARD int rest_events_stream(struct rest_request *request, struct fed_err *err);
/* rest_upkeep.c */
FED_NODISCARD int rest_doctor(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_disk(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_model_prune(struct rest_request *request, struct fed_err *err);

/* rest_openapi.c */
FED_NODISCARD int rest_openapi(struct rest_request *request, struct fed_err *err);

/* rest_legacy.c */
FED_NODISCARD int rest_gone(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_combiner_gone(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_no_graphql(struct rest_request *request, struct fed_err *err);
FED_NODISCARD int rest_no_delete(struct rest_request *request, struct fed_err *err);

#endif /* REDUCER_REST_HANDLERS_H */
