"""Incidents between the contract and Python."""

from relman_client.v1 import incident_pb2 as pb
from relman_server.incidents.inputs import IncidentChange, ListIncidents, NewIncident, Resolution
from relman_server.kernel.rpc.reading import change_reader, reader
from relman_server.kernel.rpc.writing import page_writer, writer

new_incident = reader(pb.CreateIncidentRequest, NewIncident)
incident_change = change_reader(pb.UpdateIncidentRequest, IncidentChange)
list_incidents = reader(pb.ListIncidentsRequest, ListIncidents)
resolution = reader(pb.ResolveIncidentRequest, Resolution)

incident = writer(pb.Incident)
incidents = page_writer(pb.ListIncidentsResponse, "incidents", incident)
