"""Services between the contract and Python."""

from relman_client.v1 import catalog_pb2 as pb
from relman_server.catalog.inputs import HealthOf, ListServices, NewService, ServiceChange
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import Source, fitting_rows, page_writer, writer

new_service = reader(pb.CreateServiceRequest, NewService)
service_change = change_reader(pb.UpdateServiceRequest, ServiceChange)
list_services = reader(pb.ListServicesRequest, ListServices)
health_of = reader(pb.GetServiceHealthRequest, HealthOf)

service = writer(pb.Service)
services = page_writer(pb.ListServicesResponse, "services", service)
_environment_health = writer(pb.ServiceEnvironmentHealth)
_service_health = writer(pb.ServiceHealth, environments=lambda _: None, next_page_token=lambda _: None)


def service_health(health: Source) -> pb.ServiceHealth:
    """Write how a service is doing, in as many environments as an answer holds."""
    message = _service_health(health)
    environments, message.next_page_token = fitting_rows(health.environments, _environment_health)
    message.environments.extend(environments)
    return message
