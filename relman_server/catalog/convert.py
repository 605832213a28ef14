"""Services between the contract and Python."""

from relman_client.v1 import catalog_pb2 as pb
from relman_server.catalog.inputs import ListServices, NewService, ServiceChange
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import page_writer, writer

new_service = reader(pb.CreateServiceRequest, NewService)
service_change = change_reader(pb.UpdateServiceRequest, ServiceChange)
list_services = reader(pb.ListServicesRequest, ListServices)

service = writer(pb.Service)
services = page_writer(pb.ListServicesResponse, "services", service)
service_health = writer(pb.ServiceHealth)
